-- Agreements in force at the midnight, on London's clock, with which the day `as_of` begins.
-- parameter: as_of DATE = 2021-01-01
-- order_by: agreement_id
-- expect: unique(agreement_id)
SELECT a.agreement_id, a.account_id, a.meterpoint_id, m.region, a.product_id, p.display_name, p.is_variable,
       a.valid_from, a.valid_to
FROM silver.agreements a
LEFT JOIN silver.products p ON p.product_id = a.product_id
LEFT JOIN silver.meterpoints m ON m.meterpoint_id = a.meterpoint_id
WHERE a.valid_from <= to_utc_timestamp(CAST(:as_of AS TIMESTAMP), 'Europe/London')
  AND (a.valid_to IS NULL OR to_utc_timestamp(CAST(:as_of AS TIMESTAMP), 'Europe/London') < a.valid_to)
