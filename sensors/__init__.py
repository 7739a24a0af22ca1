"""What watches: decide by calling `domain`, yield run requests with a speaking `run_key`.

What belongs here: sensors and the jobs they launch. What does not: arithmetic, asset objects.
"""

from sensors.retrain import retrain_job, retrain_sensor

__all__ = ["retrain_job", "retrain_sensor"]
