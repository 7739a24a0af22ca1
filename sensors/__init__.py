"""What watches: decide by calling `domain`, yield run requests with a speaking `run_key`.

What belongs here: sensors and the jobs they launch. What does not: arithmetic, asset objects.
"""

from sensors.due import due_sensor
from sensors.in_step import in_step_sensor, status_assets
from sensors.retrain import intervene_job, retrain_job, retrain_sensor

__all__ = ["due_sensor", "in_step_sensor", "intervene_job", "retrain_job", "retrain_sensor", "status_assets"]
