-- The mean half hour of a meterpoint, by product.
-- order_by: interval_start, product_id
-- expect: unique(product_id, interval_start)
SELECT product_id, display_name, interval_start, avg(consumption_delta) AS avg_kwh
FROM gold.supplied_half_hours
WHERE agreement_id IS NOT NULL
GROUP BY product_id, display_name, interval_start
