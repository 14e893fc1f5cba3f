"""The readings' columns, as each peer names their types."""

DUCKDB = {
    "event_id": "VARCHAR",
    "meter_id": "VARCHAR",
    "customer_id": "VARCHAR",
    "timestamp": "TIMESTAMPTZ",
    "reading_kwh": "DOUBLE",
    "voltage_v": "DOUBLE",
    "current_a": "DOUBLE",
    "power_factor": "DOUBLE",
    "frequency_hz": "DOUBLE",
    "meter_status": "VARCHAR",
    "region": "VARCHAR",
    "state": "VARCHAR",
    "grid_zone": "VARCHAR",
    "is_anomaly_flag": "BOOLEAN",
}

_SPARK = {"VARCHAR": "STRING", "TIMESTAMPTZ": "TIMESTAMP"}
SPARK_DDL = ", ".join(f"`{name}` {_SPARK.get(kind, kind)}" for name, kind in DUCKDB.items())
