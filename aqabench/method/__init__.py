"""Who answers: the interface, the card, the registry and the contract of methods."""
