#include "common/telemetry/http_server.h"

#include <httplib.h>

#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/address.h"
#include "common/base/status_macros.h"
#include "common/telemetry/metrics_page.h"

namespace rsidiff {
namespace {

constexpr char kMetricsContentType[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr size_t kMaxRequestBytes = 1 << 20;

std::string EscapeHtml(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

// cpp-httplib takes paths as regular expressions.
std::string EscapeRegex(absl::string_view path) {
  std::string escaped;
  for (char c : path) {
    if (absl::StrContains(R"(\^$.|?*+()[]{})", c)) escaped.push_back('\\');
    escaped.push_back(c);
  }
  return escaped;
}

HttpResponse IndexPage(const std::string& title, const std::vector<HttpRoute>& routes) {
  std::string items;
  for (const HttpRoute& route : routes) {
    absl::StrAppend(&items, "<li><a href=\"", EscapeHtml(route.path), "\">", EscapeHtml(route.path), "</a> ",
                    EscapeHtml(route.description), "</li>\n");
  }
  return {200, "text/html; charset=utf-8",
          absl::StrCat("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>",
                       EscapeHtml(title), "</title></head>\n<body><h1>", EscapeHtml(title), "</h1>\n<ul>\n",
                       items, "</ul></body></html>\n")};
}

HttpResponse ReadyPage(const std::function<absl::Status()>& ready) {
  absl::Status status = ready ? ready() : absl::OkStatus();
  if (status.ok()) return {200, "text/plain; charset=utf-8", "ready\n"};
  return {503, "text/plain; charset=utf-8", absl::StrCat("not ready: ", status.message(), "\n")};
}

}  // namespace

class HttpServer::Impl {
 public:
  explicit Impl(HttpServerOptions options) : options_(std::move(options)) {
    // SO_REUSEADDR alone: the library's default, SO_REUSEPORT, would let two processes share the port.
    server_.set_socket_options([](int socket) {
      int yes = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    // An idle connection holds one of the pool's threads, and Stop waits for it.
    server_.set_keep_alive_timeout(1);
    server_.set_payload_max_length(kMaxRequestBytes);
    server_.set_exception_handler(
        [](const httplib::Request&, httplib::Response& response, std::exception_ptr) {
          response.status = 500;
          response.set_content("internal error\n", "text/plain");
        });
    server_.set_error_handler([](const httplib::Request& request, httplib::Response& response) {
      if (response.status == 404 && response.body.empty()) {
        response.set_content(absl::StrCat("no page ", request.path, "\n"), "text/plain");
      }
    });
    AddOwnRoutes();
  }

  absl::StatusOr<std::string> BindAndServe() {
    RSIDIFF_ASSIGN_OR_RETURN(HostPort address, ParseHostPort(options_.address));
    errno = 0;
    int port = address.port;
    if (port == 0) {
      port = server_.bind_to_any_port(address.host);
    } else if (!server_.bind_to_port(address.host, port)) {
      port = -1;
    }
    if (port < 0) {
      return absl::UnavailableError(
          absl::StrCat("cannot listen on HTTP address ", options_.address, ": ",
                       errno != 0 ? std::strerror(errno) : "cannot resolve the host"));
    }
    address.port = static_cast<uint16_t>(port);
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    // stop() does nothing before the loop runs.
    while (!server_.is_running()) std::this_thread::yield();
    return address.ToString();
  }

  void Stop() {
    if (!thread_.joinable()) return;
    server_.stop();
    thread_.join();
  }

 private:
  void AddOwnRoutes() {
    std::vector<HttpRoute> routes = {{"/metrics", "Prometheus metrics",
                                      [this](const HttpRequest&) {
                                        return HttpResponse{
                                            200, kMetricsContentType,
                                            options_.metrics != nullptr ? options_.metrics->Render() : ""};
                                      }},
                                     {"/healthz", "200 while the process lives",
                                      [](const HttpRequest&) {
                                        return HttpResponse{200, "text/plain; charset=utf-8", "ok\n"};
                                      }},
                                     {"/readyz", "200 when it can do its work, else 503 and the reason",
                                      [this](const HttpRequest&) { return ReadyPage(options_.ready); }}};
    bool has_index = false;
    for (const HttpRoute& route : options_.routes) {
      has_index = has_index || route.path == "/";
      routes.push_back(route);
    }
    for (const HttpRoute& route : routes) Register(route);
    if (!has_index) {
      Register({"/", "", [page = IndexPage(options_.title, routes)](const HttpRequest&) { return page; }});
    }
  }

  void Register(const HttpRoute& route) {
    server_.Get(EscapeRegex(route.path),
                [handler = route.handler](const httplib::Request& request, httplib::Response& response) {
                  HttpRequest own{request.path, request.get_header_value("Host"), {}};
                  for (const auto& [name, value] : request.params) own.parameters.emplace(name, value);
                  const HttpResponse answer = handler(own);
                  response.status = answer.status;
                  response.set_content(answer.body, answer.content_type);
                });
  }

  const HttpServerOptions options_;
  httplib::Server server_;
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(HttpServerOptions options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  RSIDIFF_ASSIGN_OR_RETURN(std::string address, impl->BindAndServe());
  return absl::WrapUnique(new HttpServer(std::move(impl), std::move(address)));
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl, std::string address)
    : impl_(std::move(impl)), address_(std::move(address)) {}

HttpServer::~HttpServer() {
  Stop();
}

void HttpServer::Stop() {
  impl_->Stop();
}

}  // namespace rsidiff
