from tests.support.gateway import *
async def test_smoke(services):
    services.start("gateway"); services.start("scheduler")
    api=Api(services.channel("gateway"), services.admin_token)
    r=await api.apply("""
name: demo
inputs: {who: {type: string, default: you}, n: {type: integer}}
triggers:
  - {id: nightly, cron: "30 2 * * *", timezone: Europe/Paris, inputs: {n: 2}}
  - {id: push, webhook: {verify: {scheme: github, secret: GH_HOOK}}, inputs: {n: 1}}
steps:
  - {id: a, http: {method: POST, url: "http://localhost/a"}}
output: ${{ steps.a.output }}
""")
    print(r)
    run=await api.start("demo", {"n":5}, request_id="x", labels={"a":"b"})
    print(run)
    print(await api.start("demo", {"n":5}, request_id="x", labels={"a":"b"}))
    from taskforge.v1 import schedule_service_pb2 as s, system_service_pb2 as y, webhook_service_pb2 as w
    print(await api.call(api.schedules.ListSchedules, s.ListSchedulesRequest()))
    print(await api.call(api.webhooks.ListWebhooks, w.ListWebhooksRequest()))
    print(await api.call(api.system.GetStatus, y.GetStatusRequest()))
    x=await api.refused(api.runs.StartRun, run_service_pb2.StartRunRequest(workflow="workflows/demo"))
    print(x.reason,x.message,x.violations,x.metadata)
    print(await api.refused(api.workflows.ApplyWorkflows, apply_request("name: x\nstepz: []\n")).__class__)
    print(open(services.folder/"gateway.log").read())
