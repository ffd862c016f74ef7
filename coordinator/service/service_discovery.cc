#include "coordinator/service/service_discovery.h"

#include <map>
#include <nlohmann/json.hpp>

namespace rsidiff::coordinator {

std::string ServiceDiscoveryJson(const std::string& coordinator_address,
                                 const std::vector<v1::WorkerRecord>& workers) {
  auto list = nlohmann::ordered_json::array();
  auto add = [&list](const std::string& address, const std::map<std::string, std::string>& labels) {
    list.push_back({{"targets", {address}}, {"labels", labels}});
  };
  if (!coordinator_address.empty()) add(coordinator_address, {{"job", "rsidiff-coordinator"}});
  std::map<std::string, const v1::WorkerRecord*> by_name;
  for (const v1::WorkerRecord& worker : workers) {
    bool lives = worker.state() == v1::WORKER_STATE_ACTIVE || worker.state() == v1::WORKER_STATE_DRAINING;
    if (lives && !worker.capabilities().http_address().empty()) by_name[worker.name()] = &worker;
  }
  for (const auto& [name, worker] : by_name) {
    add(worker->capabilities().http_address(), {{"job", "rsidiff-worker"},
                                                {"worker", name},
                                                {"__meta_rsidiff_device", worker->capabilities().device()}});
  }
  return list.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace rsidiff::coordinator
