"""A model behind an OpenAI-compatible address, for Oracles and for judges.

client       how it is reached        cache  what need not be asked again
json_values  what JSON a reply holds
"""
