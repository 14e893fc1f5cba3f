-- The grid in one row: readings, meters that sent any, mean consumption, greatest demand, mean efficiency.
SELECT count(*) AS total_readings,
       count(DISTINCT meter_id) AS active_meters,
       round(avg(consumption), 3) AS avg_consumption,
       round(max(peak_demand), 2) AS current_peak_demand,
       round(avg(efficiency_rating), 2) AS avg_efficiency
FROM silver.energy_readings
