-- The day's shape: consumption and demand by hour of day, in UTC.
-- order_by: hour
-- expect: unique(hour)
SELECT hour(reading_date) AS hour,
       count(*) AS readings_in_hour,
       CAST(avg(CAST(abs(consumption) AS DECIMAL(10, 3))) AS DECIMAL(11, 3)) AS avg_hourly_consumption,
       CAST(max(peak_demand) AS DECIMAL(9, 2)) AS max_hourly_peak
FROM silver.energy_readings
GROUP BY hour(reading_date)
