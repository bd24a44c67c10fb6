return {'ok', incarnation}
