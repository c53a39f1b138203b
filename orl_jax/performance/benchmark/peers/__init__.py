"""The peers' programs. Each runs in its own Python and imports only modules of this folder."""
