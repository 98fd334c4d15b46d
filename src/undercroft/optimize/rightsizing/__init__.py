"""The smallest model that still does its work on a machine: candidates, forecast, race, proof."""
