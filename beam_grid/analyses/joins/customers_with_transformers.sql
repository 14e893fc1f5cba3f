-- Each version of a customer with each version of its transformer that it met; `valid_from` and `valid_to` are the
-- time they had together, half-open. A version that met none keeps its row and its own time.
-- kind: view
SELECT c.*, t.substation_id, t.capacity_mva, t.health_index_score, t.status AS transformer_status,
       t.scd_version AS transformer_version,
       greatest(c.record_effective_date, coalesce(t.record_effective_date, c.record_effective_date)) AS valid_from,
       least(c.record_end_date, coalesce(t.record_end_date, c.record_end_date)) AS valid_to
FROM silver.customers c
LEFT JOIN silver.transformers t
    ON c.transformer_id = t.transformer_id
    AND t.record_effective_date < c.record_end_date AND c.record_effective_date < t.record_end_date
