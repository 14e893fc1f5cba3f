-- What all meterpoints together took in each half hour, and how many of them were heard.
-- order_by: interval_start
-- expect: unique(interval_start)
SELECT interval_start, sum(consumption_delta) AS total_kwh, count(DISTINCT meterpoint_id) AS meterpoint_count
FROM silver.half_hourly_readings
GROUP BY interval_start
