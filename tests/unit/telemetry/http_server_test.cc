#include "common/telemetry/http_server.h"

#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/address.h"
#include "common/telemetry/metrics_page.h"

namespace rsidiff {
namespace {

httplib::Client ClientOf(const HttpServer& server) {
  return httplib::Client("http://" + server.address());
}

TEST(HttpServer, ServesItsPagesOnAFreePort) {
  MetricsPage page("worker");
  HttpServerOptions options;
  options.title = "a <title>";
  options.metrics = &page;
  auto server = HttpServer::Start(options);
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_GT(ParseHostPort((*server)->address())->port, 0);

  httplib::Client client = ClientOf(**server);
  EXPECT_EQ(client.Get("/healthz")->body, "ok\n");
  EXPECT_EQ(client.Get("/readyz")->status, 200);
  auto metrics = client.Get("/metrics");
  EXPECT_TRUE(absl::StrContains(metrics->body, "rsidiff_build_info"));
  EXPECT_EQ(metrics->get_header_value("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  auto index = client.Get("/");
  EXPECT_TRUE(absl::StrContains(index->body, "a &lt;title&gt;"));
  EXPECT_TRUE(absl::StrContains(index->body, "href=\"/metrics\""));
  EXPECT_EQ(client.Get("/nothing")->status, 404);
  EXPECT_EQ(client.Head("/healthz")->status, 200);
}

TEST(HttpServer, ReadyzTellsWhyNot) {
  std::atomic<bool> ready{false};
  HttpServerOptions options;
  options.ready = [&ready] { return ready ? absl::OkStatus() : absl::UnavailableError("no coordinator"); };
  auto server = HttpServer::Start(options);
  ASSERT_TRUE(server.ok());
  httplib::Client client = ClientOf(**server);
  EXPECT_EQ(client.Get("/readyz")->status, 503);
  EXPECT_EQ(client.Get("/readyz")->body, "not ready: no coordinator\n");
  ready = true;
  EXPECT_EQ(client.Get("/readyz")->status, 200);
}

TEST(HttpServer, RoutesGetTheQueryAndTakePathsLiterally) {
  HttpServerOptions options;
  options.routes = {
      {"/a.b", "",
       [](const HttpRequest& request) {
         return HttpResponse{201, "application/json", request.parameters.at("x") + request.host};
       }},
      {"/boom", "", [](const HttpRequest&) -> HttpResponse { throw std::runtime_error("boom"); }}};
  auto server = HttpServer::Start(options);
  ASSERT_TRUE(server.ok());
  httplib::Client client = ClientOf(**server);
  auto answer = client.Get("/a.b?x=1%202");
  EXPECT_EQ(answer->status, 201);
  EXPECT_EQ(answer->body, absl::StrCat("1 2", (*server)->address()));
  EXPECT_EQ(answer->get_header_value("Content-Type"), "application/json");
  EXPECT_EQ(client.Get("/aXb?x=1")->status, 404);
  EXPECT_EQ(client.Get("/boom")->status, 500);
  EXPECT_EQ(client.Get("/a.b?x=1")->status, 201);
}

TEST(HttpServer, PortInUseIsAnErrorThatNamesIt) {
  auto first = HttpServer::Start({});
  ASSERT_TRUE(first.ok());
  HttpServerOptions options;
  options.address = (*first)->address();
  absl::Status second = HttpServer::Start(options).status();
  EXPECT_TRUE(absl::IsUnavailable(second));
  EXPECT_TRUE(absl::StrContains(second.message(), (*first)->address())) << second;
  EXPECT_TRUE(absl::StrContains(second.message(), "in use")) << second;
}

TEST(HttpServer, BadAddressesAreErrors) {
  HttpServerOptions options;
  options.address = "nonsense";
  EXPECT_TRUE(absl::IsInvalidArgument(HttpServer::Start(options).status()));
  options.address = "no-such-host.invalid:0";
  EXPECT_TRUE(absl::IsUnavailable(HttpServer::Start(options).status()));
}

TEST(HttpServer, StopFreesThePortWithAnIdleConnectionOpen) {
  auto server = HttpServer::Start({});
  ASSERT_TRUE(server.ok());
  std::string address = (*server)->address();
  httplib::Client client = ClientOf(**server);
  client.set_keep_alive(true);
  ASSERT_EQ(client.Get("/healthz")->status, 200);
  (*server)->Stop();
  (*server)->Stop();
  EXPECT_FALSE(httplib::Client("http://" + address).Get("/healthz"));
  HttpServerOptions again;
  again.address = address;
  EXPECT_TRUE(HttpServer::Start(again).ok());
}

TEST(HttpServer, AnswersManyCallersAtOnce) {
  MetricsPage page("worker");
  HttpServerOptions options;
  options.metrics = &page;
  auto server = HttpServer::Start(options);
  ASSERT_TRUE(server.ok());
  std::atomic<int> answered{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 16; ++i) {
    callers.emplace_back([&] {
      httplib::Client client = ClientOf(**server);
      auto answer = client.Get("/metrics");
      if (answer && answer->status == 200) ++answered;
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(answered, 16);
}

}  // namespace
}  // namespace rsidiff
