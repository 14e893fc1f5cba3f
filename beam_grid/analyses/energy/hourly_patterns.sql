-- The day's shape: consumption and demand by hour of day, in UTC.
-- order_by: hour
-- expect: unique(hour)
SELECT hour(reading_date) AS hour,
       count(*) AS readings_in_hour,
       round(avg(abs(consumption)), 3) AS avg_hourly_consumption,
       round(max(peak_demand), 2) AS max_hourly_peak
FROM silver.energy_readings
GROUP BY hour(reading_date)
