-- Each current bill with its customer as of the day the billing period ended.
-- kind: view
SELECT b.*, c.customer_name, c.tariff_category, c.connection_type, c.account_status, c.outstanding_balance,
       c.transformer_id, c.scd_version AS customer_version
FROM silver.billing_transactions b
LEFT JOIN silver.customers c
    ON b.customer_id = c.customer_id
    AND b.billing_period_end >= c.record_effective_date AND b.billing_period_end < c.record_end_date
