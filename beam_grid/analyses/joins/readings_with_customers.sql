-- Each meter reading with the customer, and the customer's transformer, as they were when the meter was read. A
-- reading without one keeps its row; the other's columns are null.
-- kind: view
SELECT r.*, c.customer_name, c.tariff_category, c.connection_type, c.sanctioned_load_kw, c.account_status,
       c.scd_version AS customer_version, c.transformer_id, t.substation_id, t.capacity_mva, t.health_index_score,
       t.status AS transformer_status, t.scd_version AS transformer_version
FROM silver.smart_meter_readings r
LEFT JOIN silver.customers c
    ON r.customer_id = c.customer_id AND CAST(r.timestamp AS DATE) >= c.record_effective_date AND CAST(r.timestamp AS DATE) < c.record_end_date
LEFT JOIN silver.transformers t
    ON c.transformer_id = t.transformer_id AND CAST(r.timestamp AS DATE) >= t.record_effective_date AND CAST(r.timestamp AS DATE) < t.record_end_date
