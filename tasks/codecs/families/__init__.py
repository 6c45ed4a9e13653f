"""The families of models: a module each turns neutral requests into modelInputs, and modelOutputs back."""
