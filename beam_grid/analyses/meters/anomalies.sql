-- Each meter reading against the meter's own history: its readings in the same hour of the week, before the reading's
-- own hour began. `z_score` is how many standard deviations (of the sample) the reading lies from their mean;
-- `status` is NORMAL, WARNING beyond 2 or CRITICAL beyond 3. Both are null where fewer than two readings, or only
-- equal ones, went before: no history is not the same as normal. `hour_of_week` counts from Monday 00:00 UTC.
-- A float's error makes no difference: a spread, or a deviation, below a trillionth of the mean is 0.
-- cluster_by: timestamp, meter_id
-- key: event_id, timestamp
-- touched: meter_id, (unix_micros(timestamp) + 120960000000000000) DIV 3600000000 % 168
-- since: timestamp
-- show: WHERE status <> 'NORMAL' ORDER BY abs(z_score) DESC
WITH placed AS (
    -- hours since 200,000 weeks before the epoch, so that none is below 0; the epoch was a Thursday
    SELECT meter_id, timestamp, event_id, reading_kwh,
           (unix_micros(timestamp) + 120960000000000000) DIV 3600000000 AS hour_start
    FROM silver.smart_meter_readings
    WHERE :touched
),
compared AS (
    SELECT meter_id, timestamp, event_id, reading_kwh, CAST((hour_start + 72) % 168 AS INT) AS hour_of_week,
           count(reading_kwh) OVER earlier AS history_readings,
           avg(reading_kwh) OVER earlier AS history_mean_kwh,
           stddev(reading_kwh) OVER earlier AS spread_kwh
    FROM placed
    WINDOW earlier AS (
        PARTITION BY meter_id, hour_start % 168 ORDER BY hour_start RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
measured AS (
    SELECT *,
           CASE WHEN spread_kwh <= 1e-12 * abs(history_mean_kwh) THEN CAST(0 AS DOUBLE) ELSE spread_kwh END
               AS history_stddev_kwh,
           CASE WHEN abs(reading_kwh - history_mean_kwh) <= 1e-12 * abs(history_mean_kwh) THEN CAST(0 AS DOUBLE)
               ELSE reading_kwh - history_mean_kwh END AS deviation_kwh
    FROM compared
),
scored AS (
    SELECT *, try_divide(deviation_kwh, history_stddev_kwh) AS z_score
    FROM measured
)
SELECT meter_id, timestamp, event_id, reading_kwh, hour_of_week, history_readings, history_mean_kwh, history_stddev_kwh,
       deviation_kwh, z_score,
       CASE WHEN abs(z_score) - 3 > 1e-9 THEN 'CRITICAL' WHEN abs(z_score) - 2 > 1e-9 THEN 'WARNING'
           WHEN z_score IS NOT NULL THEN 'NORMAL' END AS status
FROM scored
