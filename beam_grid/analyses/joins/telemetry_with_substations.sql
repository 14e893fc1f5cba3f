-- Each telemetry record with its substation as it was then: how many transformers, of what capacity and health.
-- kind: view
SELECT m.telemetry_id, m.timestamp, m.substation_id, m.transformer_id, m.load_mw, m.capacity_mw, m.load_percentage,
       m.alarm_code, count(t.transformer_id) AS substation_transformers, sum(t.capacity_mva) AS substation_capacity_mva,
       min(t.health_index_score) AS worst_health_index
FROM silver.substation_telemetry m
LEFT JOIN silver.transformers t
    ON m.substation_id = t.substation_id
    AND CAST(m.timestamp AS DATE) >= t.record_effective_date AND CAST(m.timestamp AS DATE) < t.record_end_date
GROUP BY m.telemetry_id, m.timestamp, m.substation_id, m.transformer_id, m.load_mw, m.capacity_mw, m.load_percentage,
         m.alarm_code
