-- Demand of each location: its greatest and its mean.
-- order_by: max_peak_demand, location
-- show: ORDER BY max_peak_demand DESC
-- expect: unique(location)
SELECT location,
       count(*) AS reading_count,
       CAST(max(peak_demand) AS DECIMAL(9, 2)) AS max_peak_demand,
       CAST(avg(CAST(peak_demand AS DECIMAL(8, 2))) AS DECIMAL(9, 2)) AS avg_peak_demand,
       count(DISTINCT meter_id) AS active_meters
FROM silver.energy_readings
GROUP BY location
