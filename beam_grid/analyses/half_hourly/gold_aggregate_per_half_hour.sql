-- The same as total_consumption_half_hour, under the name that dashboards read.
-- order_by: interval_start
-- expect: unique(interval_start)
SELECT interval_start, total_kwh, meterpoint_count
FROM gold.total_consumption_half_hour
