-- What each transformer supplied in an hour against what the customers on it at that time took, technical loss included,
-- and why they differ: theft, mis-mapped meter, clock skew, stuck meter. A reading is the energy up to its time.
-- Where up to 5 % of the meters said nothing, or not as often as was usual in the day before, the others stand for them;
-- where more did, there is no score.
-- Of the loss at the usual load, the mean of a week, a part is the same at any load, the rest goes with its square.
-- A meter is stuck that has said the same, and not 0, for six hours.
-- parameter: loss_percent INT = 4
-- parameter: no_load_percent INT = 30
-- cluster_by: transformer_id, hour
-- key: transformer_id, hour
-- detect: energy_balance value=supplied_kwh,taken_kwh,stuck_meters,mirror_kwh time=hour by=transformer_id
-- show: WHERE is_anomaly ORDER BY probability, transformer_id, hour
WITH supply AS (
    SELECT transformer_id, substation_id, hour,
           CASE WHEN readings = round(avg(readings) OVER day + 0.25) THEN kwh END AS supplied_kwh
    FROM (SELECT transformer_id, substation_id, hour, sum(supplied_kwh) AS kwh, count(supplied_kwh) AS readings
          FROM (SELECT transformer_id, substation_id, supplied_kwh,
                       date_trunc('HOUR', timestamp - INTERVAL 1 MICROSECOND) AS hour
                FROM silver.transformer_energy)
          GROUP BY transformer_id, substation_id, hour)
    WINDOW day AS (PARTITION BY transformer_id ORDER BY hour ROWS BETWEEN 23 PRECEDING AND CURRENT ROW)
),
hours AS (
    SELECT meter_id, hour, sum(reading_kwh) AS kwh, count(reading_kwh) AS readings,
           min(reading_kwh) AS least_kwh, max(reading_kwh) AS most_kwh
    FROM (SELECT meter_id, reading_kwh, date_trunc('HOUR', timestamp - INTERVAL 1 MICROSECOND) AS hour
          FROM silver.smart_meter_readings)
    GROUP BY meter_id, hour
),
meters AS (
    SELECT meter_id, hour,
           CASE WHEN readings = round(avg(readings) OVER day + 0.25) AND count(*) OVER day > 1 THEN kwh END AS kwh,
           CASE WHEN least_kwh > 0 AND count(kwh) OVER six = 6 AND max(most_kwh) OVER six = min(least_kwh) OVER six THEN 1
               ELSE 0 END AS is_stuck
    FROM hours
    WINDOW six AS (PARTITION BY meter_id ORDER BY hour ROWS BETWEEN 5 PRECEDING AND CURRENT ROW),
           day AS (PARTITION BY meter_id ORDER BY hour ROWS BETWEEN 23 PRECEDING AND CURRENT ROW)
),
taken AS (
    SELECT s.transformer_id, s.hour, CAST(count(*) AS BIGINT) AS customers, CAST(count(m.kwh) AS BIGINT) AS reporting,
           sum(m.kwh) AS kwh, CAST(coalesce(sum(m.is_stuck), 0) AS BIGINT) AS stuck_meters
    FROM supply s
    JOIN silver.customers c
        ON s.transformer_id = c.transformer_id AND CAST(s.hour AS DATE) >= c.record_effective_date
        AND CAST(s.hour AS DATE) < c.record_end_date AND c.account_status <> 'CLOSED'
    LEFT JOIN meters m ON c.meter_id = m.meter_id AND s.hour = m.hour
    GROUP BY s.transformer_id, s.hour
),
used AS (
    SELECT s.transformer_id, s.substation_id, s.hour, s.supplied_kwh, coalesce(t.customers, 0) AS customers,
           coalesce(t.reporting, 0) AS reporting, coalesce(t.stuck_meters, 0) AS stuck_meters,
           CASE WHEN t.reporting >= 0.95 * t.customers THEN t.kwh * t.customers / t.reporting END AS kwh
    FROM supply s LEFT JOIN taken t ON s.transformer_id = t.transformer_id AND s.hour = t.hour
),
balance AS (
    SELECT transformer_id, substation_id, hour, supplied_kwh, customers, reporting, stuck_meters,
           kwh + CAST(:loss_percent AS DOUBLE) / (100 - :loss_percent)
               * (:no_load_percent * usual_kwh + (100 - :no_load_percent) * coalesce(kwh * kwh / nullif(usual_kwh, 0), 0)) / 100
               AS taken_kwh
    FROM (SELECT *, avg(kwh) OVER week AS usual_kwh FROM used
          WINDOW week AS (PARTITION BY transformer_id ORDER BY hour ROWS BETWEEN 167 PRECEDING AND CURRENT ROW))
),
beside AS (
    SELECT b.transformer_id, b.hour, max(o.taken_kwh - o.supplied_kwh) AS kwh
    FROM balance b
    JOIN balance o ON b.substation_id = o.substation_id AND b.hour = o.hour AND b.transformer_id <> o.transformer_id
    GROUP BY b.transformer_id, b.hour
)
SELECT b.transformer_id, b.substation_id, b.hour, b.customers, b.reporting, b.supplied_kwh, b.taken_kwh, b.stuck_meters,
       CASE WHEN o.kwh IS NOT NULL THEN greatest(o.kwh, CAST(0 AS DOUBLE)) END AS mirror_kwh
FROM balance b LEFT JOIN beside o ON b.transformer_id = o.transformer_id AND b.hour = o.hour
