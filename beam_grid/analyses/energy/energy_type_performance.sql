-- Consumption (what is fed in counts as much as what is used), demand and efficiency of each energy.
-- order_by: total_consumption, energy_type
-- show: ORDER BY total_consumption DESC
-- expect: unique(energy_type)
SELECT energy_type,
       count(*) AS total_readings,
       CAST(sum(abs(CAST(consumption AS DECIMAL(10, 3)))) AS DECIMAL(21, 3)) AS total_consumption,
       CAST(avg(CAST(abs(consumption) AS DECIMAL(10, 3))) AS DECIMAL(11, 3)) AS avg_consumption,
       CAST(max(peak_demand) AS DECIMAL(9, 2)) AS max_peak_demand,
       CAST(CAST(avg(CAST(efficiency_rating AS DECIMAL(18, 6))) AS DECIMAL(18, 2)) AS DOUBLE) AS avg_efficiency,
       count(DISTINCT meter_id) AS unique_meters
FROM silver.energy_readings
GROUP BY energy_type
