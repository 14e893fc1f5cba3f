-- Beyond these a reading or a meter is an alert: three standard deviations from the mean, both as rounded in
-- gold.energy_baselines. Decimals throughout, so that a value on the threshold is never beyond it by a float's error.
-- order_by: energy_type
-- expect: unique(energy_type)
WITH exact AS (
    SELECT energy_type,
           CAST(mean_consumption AS DECIMAL(18, 3)) AS mean_consumption,
           CAST(stddev_consumption AS DECIMAL(18, 3)) AS stddev_consumption,
           CAST(mean_peak_demand AS DECIMAL(18, 2)) AS mean_peak_demand,
           CAST(stddev_peak_demand AS DECIMAL(18, 2)) AS stddev_peak_demand,
           CAST(mean_efficiency AS DECIMAL(18, 2)) AS mean_efficiency,
           CAST(stddev_efficiency AS DECIMAL(18, 2)) AS stddev_efficiency
    FROM gold.energy_baselines
)
SELECT energy_type,
       CAST(mean_consumption + 3 * stddev_consumption AS DECIMAL(21, 3)) AS consumption_high,
       CAST(mean_consumption - 3 * stddev_consumption AS DECIMAL(21, 3)) AS consumption_low,
       CAST(mean_peak_demand + 3 * stddev_peak_demand AS DECIMAL(21, 2)) AS peak_demand_high,
       CAST(mean_efficiency - 3 * stddev_efficiency AS DECIMAL(21, 2)) AS efficiency_low
FROM exact
