-- Each telemetry record with the transformer's master data as they were when it was measured.
-- kind: view
SELECT m.*, t.manufacturer, t.install_date, t.capacity_mva, t.voltage_class_kv, t.cooling_type, t.health_index_score,
       t.status AS transformer_status, t.scd_version AS transformer_version
FROM silver.substation_telemetry m
LEFT JOIN silver.transformers t
    ON m.transformer_id = t.transformer_id
    AND CAST(m.timestamp AS DATE) >= t.record_effective_date AND CAST(m.timestamp AS DATE) < t.record_end_date
