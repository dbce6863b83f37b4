"""What is reported to people and automations: open alarms, one alert a change of them, its words, its delivery."""
