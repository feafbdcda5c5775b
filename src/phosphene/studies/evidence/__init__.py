"""What several studies need: photographs, patches, projections and reference levels."""
