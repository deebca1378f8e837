"""securegen: association statistics and polygenic risk scores on genotypes that stay hidden."""

from securegen.version import VERSION as __version__

__all__ = ["__version__"]
