"""The services, each given what it needs. With ``backends`` the only place that picks adapters for ports."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from jesse_mcp import __version__
from jesse_mcp.adapters.candles.file_reader import CandleFiles
from jesse_mcp.adapters.embedded.market_data import EmbeddedMarketData
from jesse_mcp.adapters.embedded.paper import EmbeddedPaperEngine
from jesse_mcp.adapters.reports.files import ReportFiles
from jesse_mcp.adapters.reports.renderer import TemplateRenderer
from jesse_mcp.adapters.search.optuna_search import OptunaSearchMethods
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.job_notices import SqlJobNotices
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.adapters.storage.ledger import SqlTrialLedger
from jesse_mcp.adapters.storage.owner import owner_id, owner_is_dead
from jesse_mcp.adapters.storage.paper import SqlPaperStore
from jesse_mcp.adapters.storage.runs import SqlRunStore
from jesse_mcp.adapters.storage.token_file import TokenFile
from jesse_mcp.adapters.strategies.catalog import load_catalog
from jesse_mcp.adapters.webhooks import HttpWebhooks
from jesse_mcp.backends import Backend, backend, strategy_access
from jesse_mcp.domain.catalog import JesseCatalog
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.exchanges import resolve_exchange
from jesse_mcp.domain.paper import FeedName
from jesse_mcp.ports.candle_store import CandleStore
from jesse_mcp.ports.paper import PaperFeed
from jesse_mcp.ports.traces import NoTraces, Traces
from jesse_mcp.services.analysis_source import AnalysisSources
from jesse_mcp.services.backtest_plan import BacktestPlanner
from jesse_mcp.services.backtests import BacktestService
from jesse_mcp.services.batches import BatchService
from jesse_mcp.services.campaign import CampaignService
from jesse_mcp.services.candle_import import CandleImportService
from jesse_mcp.services.candle_pull import CandlePullService
from jesse_mcp.services.candle_quality import CandleQualityService
from jesse_mcp.services.candles import CandleService
from jesse_mcp.services.correlation import CorrelationService
from jesse_mcp.services.engine_choice import EmbeddedBeside, engine_for
from jesse_mcp.services.experiments import ExperimentRunner
from jesse_mcp.services.factor_analysis import FactorService
from jesse_mcp.services.factor_universe import FactorMarket
from jesse_mcp.services.import_folders import ImportFolders
from jesse_mcp.services.job_limits import JobLimits
from jesse_mcp.services.job_notices import JobNotifier
from jesse_mcp.services.jobs import JobService
from jesse_mcp.services.market_bars import MarketReader
from jesse_mcp.services.monte_carlo import MonteCarloService
from jesse_mcp.services.optimization import OptimizationService
from jesse_mcp.services.pairs import PairsService
from jesse_mcp.services.pairs_plan import PairsPlanner
from jesse_mcp.services.paper_engines import PaperEngines
from jesse_mcp.services.paper_exchange_feed import ExchangeFeed
from jesse_mcp.services.paper_parts import PaperParts
from jesse_mcp.services.paper_recovery import PaperKeeper
from jesse_mcp.services.paper_replay_feed import ReplayFeed
from jesse_mcp.services.paper_request import PaperPlanner
from jesse_mcp.services.paper_sessions import PaperService
from jesse_mcp.services.paper_warm_up import PaperWarmUp
from jesse_mcp.services.performance_analysis import PerformanceService
from jesse_mcp.services.price_panel import PricePanels
from jesse_mcp.services.readiness import ReadinessService
from jesse_mcp.services.regimes import RegimeService
from jesse_mcp.services.risk_report import RiskReportService
from jesse_mcp.services.runs import RunService
from jesse_mcp.services.significance import SignificanceService
from jesse_mcp.services.strategies import StrategyService
from jesse_mcp.services.stress import StressService
from jesse_mcp.services.system import SystemService
from jesse_mcp.services.tokens import TokenService
from jesse_mcp.services.value_at_risk import VarService
from jesse_mcp.services.walk_forward import WalkForwardService
from jesse_mcp.setting_values import paths
from jesse_mcp.settings import Settings

if TYPE_CHECKING:
    from jesse_mcp.services.backups import BackupService


class Application:
    """Every service over one home folder. Making one touches the home folder but starts nothing.

    Args:
        traces: gets the spans of jobs and calls, and is closed with the services; see :func:`open_traces`.

    Raises:
        ResearchError: ``storage_failed`` when the home folder or its database cannot be used.
    """

    def __init__(self, settings: Settings, traces: Traces | None = None) -> None:
        make_home(settings.home)
        self.settings = settings
        self.traces = traces or NoTraces()
        self.catalog = load_catalog()
        self.backend = backend(settings)
        self.engine = self.backend.engine
        candle_store, strategy_store = self.backend.candles, self.backend.strategies
        self._database = _database(settings)
        runs = SqlRunStore(self._database)
        jobs = SqlJobStore(self._database, noticed=settings.jobs_webhook is not None)
        ledger = SqlTrialLedger(self._database)
        self.candles = _candle_service(candle_store, self.catalog, settings)
        self.strategies = StrategyService(strategy_store, self.catalog)
        limits = JobLimits(settings.max_jobs_per_client, settings.max_queued_jobs)
        self.jobs = JobService(jobs, owner_id(), owner_is_dead, limits=limits, traces=self.traces)
        self.candle_imports = CandleImportService(
            candle_store,
            self.backend.market_data,
            self.jobs,
            lambda name: resolve_exchange(name, self.catalog).name,
            importer=self.backend.importer,
        )
        self.candle_pulls = CandlePullService(
            candle_store,
            self.backend.origin,
            _why_no_origin(settings),
            self.jobs,
            lambda name: resolve_exchange(name, self.catalog).name,
        )
        self.runs = RunService(runs)
        self.analysis_sources = AnalysisSources(
            runs,
            MarketReader(candle_store),
            lambda name: resolve_exchange(name, self.catalog).name,
            SqlPaperStore(self._database),
        )
        self.performance = PerformanceService(self.analysis_sources, candle_store)
        self.factors = FactorService(
            self.analysis_sources,
            FactorMarket(MarketReader(candle_store), lambda name: resolve_exchange(name, self.catalog).name),
            self.jobs,
        )
        self.significance = SignificanceService(self.analysis_sources, ledger, self.jobs)
        self.correlations = CorrelationService(PricePanels(self.analysis_sources), self.jobs)
        self.risk_reports = RiskReportService(
            self.analysis_sources, ledger, TemplateRenderer(), ReportFiles(settings.home / "reports")
        )
        self.var = VarService(self.analysis_sources, self.jobs)
        self.regimes = RegimeService(self.analysis_sources, self.jobs)
        beside = _embedded_beside(self.backend)
        planner = BacktestPlanner(strategy_store, candle_store, self.catalog, self.engine, beside)
        quality = CandleQualityService(candle_store)
        self.experiments = experiments = ExperimentRunner(self.engine, runs, ledger, quality, beside)
        self.backtests = BacktestService(planner, experiments, self.jobs)
        self.pairs = PairsService(
            PairsPlanner(candle_store, self.catalog),
            experiments,
            runs,
            ledger,
            quality,
            self.jobs,
            lambda: engine_for("embedded", self.engine, beside).identity(),
        )
        campaigns = CampaignService(planner, experiments)
        self.batches = BatchService(campaigns, self.jobs)
        methods = OptunaSearchMethods()
        self.optimizations = OptimizationService(campaigns, methods, self.jobs)
        self.walk_forwards = WalkForwardService(campaigns, methods, runs, self.jobs)
        self.monte_carlo = MonteCarloService(runs, campaigns, self.jobs)
        self.stress = StressService(
            self.analysis_sources,
            candle_store,
            runs,
            campaigns,
            self.jobs,
            lambda name: resolve_exchange(name, self.catalog).name,
        )
        self.system = SystemService(
            __version__,
            settings.home,
            self.engine,
            candle_store,
            strategy_store,
            runs,
            jobs,
            ledger,
            self._database.name,
        )
        self.readiness = ReadinessService(
            self.engine, settings.home, settings.cache, self._check_store, settings.min_free_disk_mb
        )
        webhooks = HttpWebhooks(
            settings.webhook_secret, allow_private=settings.webhook_allow_private, now=time.time
        )
        told = None if settings.jobs_webhook is None else settings.jobs_webhook.get_secret_value()
        self.job_notifier = JobNotifier(SqlJobNotices(self._database), webhooks, told)
        self.paper_keeper = self._keeper_of_paper(runs, webhooks)
        self.paper = self._paper(self.paper_keeper)
        self._warming: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take up work: jobs abandoned by dead processes are marked, the engine warms up behind.

        Raises:
            ResearchError: ``storage_failed``.
        """
        await self.jobs.start()
        if self.settings.prewarm:
            self._warming = asyncio.create_task(self._warm())

    async def _warm(self) -> None:
        # An engine that is not installed is no reason not to serve: the run that needs it says so.
        with suppress(ResearchError):
            await self.backend.warm()

    def _keeper_of_paper(self, runs: SqlRunStore, webhooks: HttpWebhooks) -> PaperKeeper:
        embedded, settings = self.backend.embedded, self.settings
        # A running Jesse takes no single pages of candles.
        kept = None if settings.uses_dashboard else self.backend.candles
        feeds: dict[FeedName, PaperFeed] = {
            "exchange": ExchangeFeed(EmbeddedMarketData(embedded.pool), kept),
            "replay": ReplayFeed(self.backend.candles),
        }
        parts = PaperParts(
            store=SqlPaperStore(self._database),
            runs=runs,
            engine=EmbeddedPaperEngine(
                embedded.pool, settings.run_timeout, settings.run_memory_mb, strategy_access(settings)
            ),
            feeds=feeds,
            owner=owner_id(),
        )
        return PaperKeeper(parts, webhooks, owner_is_dead)

    def _paper(self, keeper: PaperKeeper) -> PaperService:
        planner = PaperPlanner(self.backend.strategies, self.backend.candles, self.catalog)
        return PaperService(
            planner,
            PaperWarmUp(planner, self.candle_imports, keeper.parts.clock),
            PaperEngines(self.backend.embedded.identity, self.backend.no_paper),
            keeper,
        )

    async def serve(self) -> None:
        """Do what a command ends too soon for: go on with paper sessions that no server works on, and tell
        the webhook of jobs that have ended.

        Raises:
            ResearchError: ``invalid_argument`` for a webhook that cannot be used.
        """
        await self.job_notifier.start()
        await self.paper_keeper.start()

    def _check_store(self) -> None:
        with self._database.writing():
            pass

    async def close(self) -> None:
        """Stop every job and every process. Idempotent."""
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
        await self.paper_keeper.close()
        await self.jobs.close()
        # Two of them may wait for somebody who does not answer.
        await asyncio.gather(self.job_notifier.close(), self.traces.close(), self.backend.close())
        await asyncio.to_thread(self._database.close)


def _database(settings: Settings) -> Database:
    if settings.database_url is None:
        return Database.at(settings.home / "research.sqlite")
    return Database.of(settings.database_url.get_secret_value())


def open_candle_service(settings: Settings) -> CandleService:
    """The candle service alone, for commands that need no engine."""
    make_home(settings.home)
    return _candle_service(backend(settings).candles, load_catalog(), settings)


def open_traces(settings: Settings) -> Traces:
    """Where a server's spans go: nowhere, unless the environment names a collector of OpenTelemetry.

    Raises:
        ResearchError: ``capability_missing`` when the libraries that send them are not installed,
            ``invalid_argument`` for variables that cannot be used.
    """
    try:
        endpoint = settings.traces_address
        if endpoint is None:
            return NoTraces()
        # An extra, which takes a while to load.
        from jesse_mcp.adapters.otlp_traces import OtlpTraces

        return OtlpTraces(endpoint)
    except ImportError as error:
        raise ResearchError(
            ErrorCode.CAPABILITY_MISSING,
            "OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, and the libraries that send them are not installed",
            hint="pip install '.[traces]' in the checkout this came from, or unset the variable",
            details={"missing": error.name},
        ) from error
    except (ValueError, OSError) as error:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"the variables of OpenTelemetry cannot be used: {error}",
            hint="correct OTEL_EXPORTER_OTLP_…, or unset it: then nothing is sent",
        ) from error


def open_tokens(settings: Settings) -> TokenService:
    """Who may come in over HTTP. Touches nothing."""
    given = None if settings.tokens is None else settings.tokens.get_secret_value()
    return TokenService(TokenFile(settings.home / "tokens.json"), given)


def open_backups(settings: Settings) -> "BackupService":
    """Copies of the home folder, which is made if it is not there."""
    # No server waits for what only two commands need.
    from jesse_mcp.adapters.backup.home_archives import LocalHomeArchives
    from jesse_mcp.adapters.backup.postgres_options import options_of_postgres
    from jesse_mcp.services.backups import BackupService

    make_home(settings.home)
    url = settings.database_url
    return BackupService(
        LocalHomeArchives(settings.home),
        settings.home,
        __version__,
        database=None if url is None else options_of_postgres(url.get_secret_value()),
        dashboard=settings.uses_dashboard,
    )


def make_home(home: Path) -> None:
    """Create the home folder, readable by its owner only.

    Raises:
        ResearchError: ``storage_failed``.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ResearchError(
            ErrorCode.STORAGE_FAILED,
            f"the home folder {home} cannot be made: {error.strerror}",
            hint="set JESSE_MCP_HOME to a folder you may write to",
        ) from error


def _embedded_beside(backend: Backend) -> EmbeddedBeside | None:
    return None if backend.instead is None else EmbeddedBeside(backend.embedded, backend.instead)


def _why_no_origin(settings: Settings) -> str:
    if settings.uses_dashboard:
        return (
            "runs use Jesse's own candles already; to run on this machine instead, set "
            "JESSE_MCP_ENGINE=embedded beside JESSE_URL, or copy with `jesse-mcp candles pull`"
        )
    return "set JESSE_URL (and JESSE_PASSWORD) to a running Jesse, with JESSE_MCP_ENGINE=embedded"


def _candle_service(store: CandleStore, catalog: JesseCatalog, settings: Settings) -> CandleService:
    folders = ImportFolders(settings.home, tuple(map(Path, paths(settings.import_folders))))
    return CandleService(store, CandleFiles(), lambda name: resolve_exchange(name, catalog).name, folders)
