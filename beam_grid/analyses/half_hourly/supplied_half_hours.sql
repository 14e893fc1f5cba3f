-- Each half hour of a meterpoint with the product it was supplied under: that of the agreement valid when the half
-- hour began; of two that overlap the one that began later, so that nothing counts twice. A half hour without an
-- agreement keeps its row, with no product. `local_day` is London's day.
-- cluster_by: interval_start, meterpoint_id
-- key: interval_start, meterpoint_id
-- touched: meterpoint_id
-- since: interval_start
-- expect: unique(meterpoint_id, interval_start)
WITH matched AS (
    SELECT r.interval_start, r.meterpoint_id, r.consumption_delta,
           a.agreement_id, a.account_id, a.product_id,
           row_number() OVER (
               PARTITION BY r.interval_start, r.meterpoint_id ORDER BY a.valid_from DESC, a.agreement_id DESC
           ) AS choice
    FROM (SELECT * FROM silver.half_hourly_readings WHERE :touched) r
    LEFT JOIN silver.agreements a
        ON a.meterpoint_id = r.meterpoint_id AND a.valid_from <= r.interval_start
        AND (a.valid_to IS NULL OR r.interval_start < a.valid_to)
)
SELECT m.interval_start,
       CAST(from_utc_timestamp(m.interval_start, 'Europe/London') AS DATE) AS local_day,
       m.meterpoint_id, m.consumption_delta, m.agreement_id, m.account_id, m.product_id, p.display_name, p.is_variable
FROM matched m
LEFT JOIN silver.products p ON p.product_id = m.product_id
WHERE m.choice = 1
