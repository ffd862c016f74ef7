// A worker without an engine: speaks the protocol, answers with made-up results, serves /metrics.
//
//   fake_worker NAME HOST:PORT                         works
//   fake_worker NAME HOST:PORT ROUNDS                  first submits a small run of so many rounds
//   fake_worker NAME HOST:PORT --protocol-version N    says that it speaks another version of the protocol
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "common/base/digest.h"
#include "common/telemetry/http_server.h"
#include "common/telemetry/metrics_page.h"
#include "tests/unit/coordinator/fake_results.h"
#include "tests/unit/service/fake_worker.h"

namespace rsidiff::coordinator {
namespace {

int Fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  return 1;
}

int Main(int argc, char** argv) {
  if (argc < 3) return Fail("usage: fake_worker NAME HOST:PORT [ROUNDS | --protocol-version N]");
  auto channel = grpc::CreateChannel(argv[2], grpc::InsecureChannelCredentials());
  MetricsPage page("worker");
  HttpServerOptions http;
  http.metrics = &page;
  auto server = HttpServer::Start(http);
  if (!server.ok()) return Fail(server.status().ToString());
  FakeWorkerOptions options{argv[1], (*server)->address(), 1000};
  const bool other_version = argc > 4 && std::string(argv[3]) == "--protocol-version";
  if (other_version) options.protocol_version = std::atoi(argv[4]);
  FakeWorker worker(channel, options);
  grpc::Status status = worker.Register();
  if (!status.ok()) return Fail(status.error_message());
  if (argc > 3 && !other_version) {
    grpc::ClientContext context;
    v1::SubmitRunResponse submitted;
    auto control = v1::ControlService::NewStub(channel);
    status = control->SubmitRun(&context, SmallRun(RandomId(), std::atoi(argv[3])), &submitted);
    if (!status.ok()) return Fail(status.error_message());
    std::printf("run %llu\n", static_cast<unsigned long long>(submitted.run_id()));
    std::fflush(stdout);
  }
  while (true) {
    status = worker.WorkOnce();
    if (!status.ok()) return Fail(status.error_message());
  }
}

}  // namespace
}  // namespace rsidiff::coordinator

int main(int argc, char** argv) {
  return rsidiff::coordinator::Main(argc, argv);
}
