"""Learn and judge: tables, towers, training, evaluation. Knows torch; knows neither FAISS nor HTTP."""
