-- Each current bill with what its meter read in the billing period, both its days included, in UTC. A bill without
-- readings keeps its row, with 0 of them.
-- kind: view
SELECT b.transaction_id, b.bill_id, b.customer_id, b.meter_id, b.billing_period_start, b.billing_period_end,
       b.units_consumed_kwh, b.total_amount, b.payment_status, b.fraud_flag,
       count(r.meter_id) AS readings, sum(r.reading_kwh) AS read_kwh,
       min(r.timestamp) AS first_reading, max(r.timestamp) AS last_reading
FROM silver.billing_transactions b
LEFT JOIN silver.smart_meter_readings r
    ON b.meter_id = r.meter_id AND CAST(r.timestamp AS DATE) BETWEEN b.billing_period_start AND b.billing_period_end
GROUP BY b.transaction_id, b.bill_id, b.customer_id, b.meter_id, b.billing_period_start, b.billing_period_end,
         b.units_consumed_kwh, b.total_amount, b.payment_status, b.fraud_flag
