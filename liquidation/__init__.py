"""Liquidation request rules: may this liquidator take over these positions, now?"""
