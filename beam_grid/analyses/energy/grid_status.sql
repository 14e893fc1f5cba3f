-- The grid in one row: readings, meters that sent any, mean consumption, greatest demand, mean efficiency.
SELECT count(*) AS total_readings,
       count(DISTINCT meter_id) AS active_meters,
       CAST(avg(CAST(consumption AS DECIMAL(10, 3))) AS DECIMAL(11, 3)) AS avg_consumption,
       CAST(max(peak_demand) AS DECIMAL(9, 2)) AS current_peak_demand,
       CAST(CAST(avg(CAST(efficiency_rating AS DECIMAL(18, 6))) AS DECIMAL(18, 2)) AS DOUBLE) AS avg_efficiency
FROM silver.energy_readings
