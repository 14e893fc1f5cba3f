-- Each maintenance job with the transformer's master data as of the day it was reported.
-- kind: view
SELECT l.*, t.manufacturer, t.install_date, t.capacity_mva, t.voltage_class_kv, t.health_index_score,
       t.status AS transformer_status, t.scd_version AS transformer_version
FROM silver.maintenance_logs l
LEFT JOIN silver.transformers t
    ON l.transformer_id = t.transformer_id
    AND l.reported_date >= t.record_effective_date AND l.reported_date < t.record_end_date
