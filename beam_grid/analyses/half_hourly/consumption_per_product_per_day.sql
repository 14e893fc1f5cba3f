-- What each product supplied on each of London's days, and to how many meterpoints; what no agreement covers is left
-- out here and stands, without a product, in gold.supplied_half_hours.
-- order_by: day, product_id
-- expect: unique(product_id, day)
SELECT product_id, display_name, local_day AS day, sum(consumption_delta) AS total_kwh,
       count(DISTINCT meterpoint_id) AS meterpoint_count
FROM gold.supplied_half_hours
WHERE agreement_id IS NOT NULL
GROUP BY product_id, display_name, local_day
