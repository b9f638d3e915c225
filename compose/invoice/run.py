"""A pipeline in YAML from Python: what came of each step, and how often its model was asked.

python compose/invoice/run.py
"""

from pathlib import Path

from fabric.pipelines import PipelineRunner

runner = PipelineRunner(Path(__file__).parent / "pipeline.yaml")  # raises PipelineLoadError, with all that is wrong
for limit in (100, 20):
    result = runner.run({"text": "Lapsang & Sons, invoice 2024-017: 4 packets of tea at EUR 12.50", "limit": limit})
    print(result.steps["decide"].value)
print("body was asked:", *(f"{log.attempt_number} {log.status}" for log in result.steps["body"].attempts))
print("why again:", *result.steps["body"].attempts[0].errors)
