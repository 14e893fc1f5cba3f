-- What is usual for each energy: means and standard deviations (of the sample), rounded as they are shown.
-- order_by: energy_type
-- expect: unique(energy_type)
SELECT energy_type,
       CAST(avg(CAST(consumption AS DECIMAL(10, 3))) AS DECIMAL(11, 3)) AS mean_consumption,
       round(stddev(CAST(consumption AS DOUBLE)), 3) AS stddev_consumption,
       CAST(avg(CAST(peak_demand AS DECIMAL(8, 2))) AS DECIMAL(9, 2)) AS mean_peak_demand,
       round(stddev(CAST(peak_demand AS DOUBLE)), 2) AS stddev_peak_demand,
       CAST(CAST(avg(CAST(efficiency_rating AS DECIMAL(18, 6))) AS DECIMAL(18, 2)) AS DOUBLE) AS mean_efficiency,
       round(stddev(CAST(efficiency_rating AS DOUBLE)), 2) AS stddev_efficiency
FROM silver.energy_readings
GROUP BY energy_type
