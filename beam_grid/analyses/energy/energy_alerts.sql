-- Readings and meters beyond the thresholds of their energy. HIGH_CONSUMPTION, LOW_CONSUMPTION and HIGH_PEAK_DEMAND
-- are of a reading; LOW_EFFICIENCY is of a meter, by the mean of all its readings. `value` is what is beyond
-- `threshold`; columns that do not apply are null.
-- order_by: alert_type, meter_id, reading_date
-- show: ORDER BY CASE WHEN alert_type = 'LOW_EFFICIENCY' THEN 1 ELSE 0 END DESC, abs(value - threshold) DESC
-- expect: unique(alert_type, meter_id, energy_type, location, reading_date)
WITH per_meter AS (
    SELECT meter_id, energy_type, location, CAST(avg(CAST(efficiency_rating AS DECIMAL(18, 6))) AS DOUBLE) AS mean_rating, count(*) AS reading_count
    FROM silver.energy_readings
    GROUP BY meter_id, energy_type, location
)
SELECT CASE WHEN r.consumption > t.consumption_high THEN 'HIGH_CONSUMPTION' ELSE 'LOW_CONSUMPTION' END AS alert_type,
       r.meter_id, r.energy_type, r.location, r.reading_date, r.consumption, r.peak_demand,
       CAST(NULL AS DOUBLE) AS avg_efficiency, CAST(NULL AS BIGINT) AS reading_count,
       CAST(r.consumption AS DOUBLE) AS value,
       CAST(CASE WHEN r.consumption > t.consumption_high THEN t.consumption_high ELSE t.consumption_low END AS DOUBLE) AS threshold
FROM silver.energy_readings r
JOIN gold.energy_thresholds t ON r.energy_type = t.energy_type
WHERE r.consumption > t.consumption_high OR r.consumption < t.consumption_low
UNION ALL
SELECT 'HIGH_PEAK_DEMAND',
       r.meter_id, r.energy_type, r.location, r.reading_date, r.consumption, r.peak_demand,
       NULL, NULL, CAST(r.peak_demand AS DOUBLE), CAST(t.peak_demand_high AS DOUBLE)
FROM silver.energy_readings r
JOIN gold.energy_thresholds t ON r.energy_type = t.energy_type
WHERE r.peak_demand > t.peak_demand_high
UNION ALL
SELECT 'LOW_EFFICIENCY',
       m.meter_id, m.energy_type, m.location, NULL, NULL, NULL,
       round(m.mean_rating, 2), m.reading_count, m.mean_rating, CAST(t.efficiency_low AS DOUBLE)
FROM per_meter m
JOIN gold.energy_thresholds t ON m.energy_type = t.energy_type
WHERE m.mean_rating < t.efficiency_low
