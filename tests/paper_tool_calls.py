"""The tools of paper trading: what each needs, and everything it takes."""

from typing import Any

from mcp_desk import EXCHANGE

PAPER_REQUIRED: dict[str, Any] = {
    "paper_start": {"strategy": "Mine", "symbol": "BTC-USDT"},
    "paper_stop": lambda w: {"session_id": w.running_session()},
    "paper_status": lambda w: {"session_id": w.ended_session()},
    "paper_get_trades": lambda w: {"session_id": w.ended_session()},
    "paper_get_equity": lambda w: {"session_id": w.ended_session()},
    "paper_get_metrics": lambda w: {"session_id": w.ended_session()},
    "paper_list_sessions": {},
    "paper_update_session": lambda w: {"session_id": w.running_session(), "updates": {"notes": "mine"}},
}

PAPER_CALLS: dict[str, list[Any]] = {
    "paper_start": [
        lambda w: {
            "strategy": "Mine",
            "symbol": "BTC-USDT",
            "timeframe": "1h",
            "exchange": EXCHANGE,
            "exchange_type": "futures",
            "starting_balance": 5000,
            "leverage": 2,
            "leverage_mode": "isolated",
            "session_id": f"every-argument-{next(w.numbers)}",
            "fee": 0.0004,
            "routes": [{"strategy": "Mine", "symbol": "ETH-USDT", "timeframe": "1h"}],
            "data_routes": [{"symbol": "BTC-USDT", "timeframe": "4h"}],
            "hyperparameters": {"every": 4},
            "warm_up_candles": 10,
            "feed": "replay",
            "speed": 5000,
            "replay_start": "2024-01-05",
            "replay_end": "2024-01-06",
            "notes": "a note",
            "watch": [{"kind": "drawdown", "limit": 0.5, "stop": False}],
            "webhook": "https://127.0.0.1:9/alerts",
            "engine": "embedded",
        },
    ],
    "paper_stop": [lambda w: {"session_id": w.running_session()}],
    "paper_status": [lambda w: {"session_id": w.ended_session()}],
    "paper_get_trades": [lambda w: {"session_id": w.ended_session(), "limit": 2, "offset": 1}],
    "paper_get_equity": [
        lambda w: {"session_id": w.ended_session(), "resolution": "4h", "limit": 2, "offset": 1}
    ],
    "paper_get_metrics": [lambda w: {"session_id": w.ended_session()}],
    "paper_list_sessions": [{"include_ended": True, "limit": 1, "offset": 1}],
    "paper_update_session": [
        lambda w: {"session_id": w.running_session(), "updates": {"leverage": 3, "notes": "more"}}
    ],
}
