-- Demand of each location: its greatest and its mean.
-- order_by: max_peak_demand, location
-- show: ORDER BY max_peak_demand DESC
-- expect: unique(location)
SELECT location,
       count(*) AS reading_count,
       round(max(peak_demand), 2) AS max_peak_demand,
       round(avg(peak_demand), 2) AS avg_peak_demand,
       count(DISTINCT meter_id) AS active_meters
FROM silver.energy_readings
GROUP BY location
