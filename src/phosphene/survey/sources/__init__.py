"""Where images come from: folders, lists, archives."""
