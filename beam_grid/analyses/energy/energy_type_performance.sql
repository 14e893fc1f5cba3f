-- Consumption (what is fed in counts as much as what is used), demand and efficiency of each energy.
-- order_by: total_consumption, energy_type
-- show: ORDER BY total_consumption DESC
-- expect: unique(energy_type)
SELECT energy_type,
       count(*) AS total_readings,
       round(sum(abs(consumption)), 3) AS total_consumption,
       round(avg(abs(consumption)), 3) AS avg_consumption,
       round(max(peak_demand), 2) AS max_peak_demand,
       round(avg(efficiency_rating), 2) AS avg_efficiency,
       count(DISTINCT meter_id) AS unique_meters
FROM silver.energy_readings
GROUP BY energy_type
