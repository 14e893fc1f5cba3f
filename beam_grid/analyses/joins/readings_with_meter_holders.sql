-- Each meter reading with whoever held the meter when it was read, whatever customer the reading itself names;
-- `is_same_customer` says whether the two agree.
-- kind: view
SELECT r.*, c.customer_id AS holder_customer_id, c.tariff_category AS holder_tariff_category,
       c.account_status AS holder_account_status, c.scd_version AS holder_version,
       r.customer_id = c.customer_id AS is_same_customer
FROM silver.smart_meter_readings r
LEFT JOIN silver.customers c
    ON r.meter_id = c.meter_id AND CAST(r.timestamp AS DATE) >= c.record_effective_date AND CAST(r.timestamp AS DATE) < c.record_end_date
