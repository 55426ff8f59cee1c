"""What tests share: models, data, properties and processes."""
