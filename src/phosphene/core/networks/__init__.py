"""A network as everything else sees it."""
