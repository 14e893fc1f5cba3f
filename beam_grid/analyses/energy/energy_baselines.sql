-- What is usual for each energy: means and standard deviations (of the sample), rounded as they are shown.
-- order_by: energy_type
-- expect: unique(energy_type)
SELECT energy_type,
       round(avg(consumption), 3) AS mean_consumption,
       round(stddev(consumption), 3) AS stddev_consumption,
       round(avg(peak_demand), 2) AS mean_peak_demand,
       round(stddev(peak_demand), 2) AS stddev_peak_demand,
       round(avg(efficiency_rating), 2) AS mean_efficiency,
       round(stddev(efficiency_rating), 2) AS stddev_efficiency
FROM silver.energy_readings
GROUP BY energy_type
