-- Each meter reading against the meter's own history: its readings in the same hour of the week, before the reading's
-- own hour began. `z_score` is how many standard deviations (of the sample) the reading lies from their mean;
-- `status` is NORMAL, WARNING beyond 2 or CRITICAL beyond 3. Both are null where fewer than two readings, or only
-- equal ones, went before: no history is not the same as normal. `hour_of_week` counts from Monday 00:00 UTC.
-- cluster_by: meter_id, timestamp
-- key: event_id, timestamp
-- touched: meter_id, weekday(timestamp) * 24 + hour(timestamp)
-- show: WHERE status <> 'NORMAL' ORDER BY abs(z_score) DESC
WITH placed AS (
    SELECT meter_id, timestamp, event_id, reading_kwh,
           weekday(timestamp) * 24 + hour(timestamp) AS hour_of_week,
           unix_seconds(date_trunc('HOUR', timestamp)) AS hour_start
    FROM silver.smart_meter_readings
    WHERE :touched
),
compared AS (
    SELECT *,
           count(reading_kwh) OVER earlier AS history_readings,
           avg(reading_kwh) OVER earlier AS mean,
           stddev(reading_kwh) OVER earlier AS spread,
           min(reading_kwh) OVER earlier AS least,
           max(reading_kwh) OVER earlier AS greatest
    FROM placed
    WINDOW earlier AS (
        PARTITION BY meter_id, hour_of_week ORDER BY hour_start RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
told AS (
    SELECT *,
           CASE WHEN least = greatest THEN least ELSE mean END AS history_mean_kwh,
           CASE WHEN spread IS NOT NULL AND least = greatest THEN CAST(0 AS DOUBLE) ELSE spread END AS history_stddev_kwh
    FROM compared
),
scored AS (
    SELECT *, try_divide(reading_kwh - history_mean_kwh, history_stddev_kwh) AS z_score
    FROM told
)
SELECT meter_id, timestamp, event_id, reading_kwh, CAST(hour_of_week AS INT) AS hour_of_week,
       history_readings, history_mean_kwh, history_stddev_kwh,
       reading_kwh - history_mean_kwh AS deviation_kwh,
       z_score,
       CASE WHEN abs(z_score) - 3 > 1e-9 THEN 'CRITICAL' WHEN abs(z_score) - 2 > 1e-9 THEN 'WARNING' WHEN z_score IS NOT NULL THEN 'NORMAL' END AS status
FROM scored
