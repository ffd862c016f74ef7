#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rsidiff {

class MetricsPage;

struct HttpRequest {
  std::string path;
  std::string host;  // HOST:PORT as the caller knows this server; empty when it does not say
  std::map<std::string, std::string> parameters;  // of the query; of equal names the first
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

struct HttpRoute {
  std::string path;  // taken literally
  std::string description;
  std::function<HttpResponse(const HttpRequest&)> handler;
};

struct HttpServerOptions {
  /// HOST:PORT; port 0 takes a free one.
  std::string address = "127.0.0.1:0";
  /// Title of the index page.
  std::string title;
  /// Not owned; outlives the server.
  const MetricsPage* metrics = nullptr;
  /// OK when the process can do its work, else why not. Called at every /readyz.
  std::function<absl::Status()> ready;
  /// GET handlers besides the server's own; called from several threads at once. One for "/" replaces
  /// the index page.
  std::vector<HttpRoute> routes;
};

/// The HTTP side of a process: /metrics, /healthz (200 while the process lives), /readyz (200 or 503
/// with the reason) and `routes`; "/" lists them. Only GET and HEAD.
class HttpServer {
 public:
  /// Binds and serves from threads of its own. INVALID_ARGUMENT: no HOST:PORT. UNAVAILABLE names the
  /// address that is in use or cannot be bound.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(HttpServerOptions options);

  /// Stops.
  ~HttpServer();

  /// HOST:PORT that is really bound.
  const std::string& address() const { return address_; }

  /// Closes the port and waits for the requests in flight, at most about a second for idle
  /// connections. Further calls do nothing. Not from a handler.
  void Stop();

 private:
  class Impl;
  HttpServer(std::unique_ptr<Impl> impl, std::string address);

  std::unique_ptr<Impl> impl_;
  const std::string address_;
};

}  // namespace rsidiff
